package driver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// shelf keeps volumes and snapshots: a directory <id> with the bytes, and <id>.json with
// what is known of it. A volume without its .json was put there by hand.
type shelf struct {
	root string
	mu   sync.Mutex
}

type volume struct {
	Name     string `json:"name"`
	Capacity int64  `json:"capacity"`
	From     string `json:"from,omitempty"`
}

type snapshot struct {
	Name   string    `json:"name"`
	Source string    `json:"source"`
	Taken  time.Time `json:"taken"`
	Ready  time.Time `json:"ready"`
}

func open(root string) (*shelf, error) {
	if !filepath.IsAbs(root) {
		return nil, fmt.Errorf("data directory %q: want an absolute path", root)
	}
	for _, dir := range []string{"volumes", "snapshots"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return nil, err
		}
	}
	return &shelf{root: root}, nil
}

// VolumeID is the ID that CreateVolume gives to a name.
func VolumeID(name string) string { return "vol-" + digest(name) }

func snapshotID(name string) string { return "snap-" + digest(name) }

func digest(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}

var idForm = regexp.MustCompile(`^(vol|snap)-[a-z0-9-]{1,64}$`)

// path is where the bytes of an ID are; an ID that is none of ours leads nowhere.
func (s *shelf) path(id string) string {
	kind := "volumes"
	if strings.HasPrefix(id, "snap-") {
		kind = "snapshots"
	}
	if !idForm.MatchString(id) {
		id = "vol-none"
	}
	return filepath.Join(s.root, kind, id)
}

func (s *shelf) has(id string) bool {
	info, err := os.Stat(s.path(id))
	return idForm.MatchString(id) && err == nil && info.IsDir()
}

func (s *shelf) read(id string, into any) error {
	b, err := os.ReadFile(s.path(id) + ".json")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// put makes an ID: from the bytes of another one, or empty. What is there when it is
// interrupted is no volume and no snapshot.
func (s *shelf) put(ctx context.Context, id, from string, about any) error {
	draft := s.path(id) + ".draft"
	if err := os.RemoveAll(draft); err != nil {
		return err
	}
	if from == "" {
		if err := os.Mkdir(draft, 0o777); err != nil {
			return err
		}
	} else if out, err := exec.CommandContext(ctx, "cp", "-a", "--sparse=always", s.path(from), draft).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %w: %s", from, err, out)
	}
	b, err := json.Marshal(about)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.path(id)+".json", b, 0o600); err != nil {
		return err
	}
	return os.Rename(draft, s.path(id))
}

func (s *shelf) remove(id string) error {
	return errors.Join(os.RemoveAll(s.path(id)), os.RemoveAll(s.path(id)+".json"))
}

func (s *shelf) snapshots() ([]string, error) {
	all, err := os.ReadDir(filepath.Join(s.root, "snapshots"))
	var ids []string
	for _, e := range all {
		if e.IsDir() && idForm.MatchString(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	slices.Sort(ids)
	return ids, err
}
