package playbooks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/custody"
)

// History is what a case's custody logs tell, all bags together, in order.
type History struct {
	Case    string
	Dir     string
	Bags    []Bag
	Target  evidence.Target // of the first record that names one
	Records []evidence.Record
}

// Bag is one bundle of a case.
type Bag struct {
	ID     string
	Sealed bool
	Head   custody.Head
}

// History reads a case without a lock and without a change. A case that is not
// here is fs.ErrNotExist.
func (c Cases) History(caseID string) (History, error) {
	h := History{Case: caseID, Dir: c.Dir(caseID)}
	root, err := os.OpenRoot(h.Dir)
	if err != nil {
		return h, fmt.Errorf("case %s is not here: %w", caseID, err)
	}
	defer root.Close()
	ids, err := bagIDs(h.Dir)
	if err != nil {
		return h, err
	}
	var faults []error
	for _, id := range ids {
		records, head, err := custody.ReadBundle(root, id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // ended before its first record
		}
		if err != nil {
			faults = append(faults, err)
		}
		_, unsealed := root.Lstat(filepath.Join(id, evidence.SealSignature))
		h.Bags = append(h.Bags, Bag{ID: id, Sealed: unsealed == nil, Head: head})
		h.Records = append(h.Records, records...)
	}
	for _, r := range h.Records {
		if r.Target != nil {
			h.Target = *r.Target
			break
		}
	}
	return h, errors.Join(faults...)
}

// bagIDs are the folders of a case that are bundles, oldest first: a ULID sorts by time.
func bagIDs(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var ids []string
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), "irkit-") && !strings.Contains(e.Name(), ".") {
			ids = append(ids, e.Name())
		}
	}
	slices.SortFunc(ids, func(a, b string) int {
		return strings.Compare(a[strings.LastIndex(a, "-"):], b[strings.LastIndex(b, "-"):])
	})
	return ids, err
}

// Last is the newest bundle of the case; false when there is none.
func (h History) Last() (Bag, bool) {
	if len(h.Bags) == 0 {
		return Bag{}, false
	}
	return h.Bags[len(h.Bags)-1], true
}

// earlier is what the first record of a further bundle carries; nil where the last one is not
// sealed, or there is none. root is the case folder's.
func (h History) earlier(root *os.Root) (*evidence.Earlier, error) {
	last, any := h.Last()
	if !any || !last.Sealed {
		return nil, nil
	}
	seal, err := sealOf(root, last.ID)
	if err != nil {
		return nil, err
	}
	return &evidence.Earlier{Bundle: last.ID, Seal: seal, Head: last.Head.Prev()}, nil
}

// Released reports whether the last thing done to the target was a whole release.
func (h History) Released() bool {
	released := false
	for _, r := range h.Records {
		switch {
		case r.Action == evidence.ActReleased && r.Change == nil:
			released = r.Result == "ok"
		case r.Action == evidence.ActIsolated && r.Phase == evidence.Intend, r.Action == evidence.ActAdopted:
			released = false
		}
	}
	return released
}

// OpenOf finds the open case of a pod's UID: the newest that holds its journal and was
// not released. ok is false when there is none.
func (c Cases) OpenOf(uid string) (caseID string, ok bool, err error) {
	return c.newest(func(h History) bool { return h.Target.UID == uid && !h.Released() })
}

// Latest finds the newest case, open or released, whose target is the one that is meant.
func (c Cases) Latest(meant func(evidence.Target) bool) (caseID string, ok bool, err error) {
	return c.newest(func(h History) bool { return h.Target.UID != "" && meant(h.Target) })
}

// newest is the case begun last of those that are meant. A case whose log cannot be
// read as a whole still counts with what can be read.
func (c Cases) newest(meant func(History) bool) (caseID string, ok bool, err error) {
	ids, err := c.All()
	if err != nil {
		return "", false, err
	}
	newest := ""
	for _, id := range ids {
		h, err := c.History(id)
		if err != nil && len(h.Records) == 0 || !meant(h) || len(h.Records) == 0 {
			continue
		}
		if first := h.Records[0].ID; first > newest {
			caseID, newest, ok = id, first, true
		}
	}
	return caseID, ok, nil
}
