package drift

import "strings"

// merge puts layers over each other while their records come sorted by path (OCI image
// specification, layer.md: a whiteout hides a path of lower layers with all below it, an opaque
// one what lower layers have below it; what is no folder hides like a whiteout). It keeps one
// frame for each ancestor of the path at hand, and no more.
type merge struct {
	fn    func(File) error
	odd   map[string]int // nil: not counted
	stack []*frame       // the ancestors of the path at hand, the root first

	open bool
	now  pile
}

// frame is a folder whose inside is being read.
type frame struct {
	key     string
	hidden  uint32 // what layers below this one have of it is hidden
	floor   uint32 // and what they have inside
	blocked bool   // it is no folder
	given   bool   // fn has it
}

// pile is what the layers have of one path. Records come with the highest layer last.
type pile struct {
	key           string
	white, opaque uint32
	dir, other    *record // the highest folder, the highest of anything else
}

const belowNoFolder = "names below what is no folder: where they were unpacked is not known"

func (m *merge) take(rec record) error {
	if m.open && rec.key != m.now.key {
		if err := m.settle(); err != nil {
			return err
		}
	}
	if !m.open {
		m.open, m.now = true, pile{key: rec.key}
	}
	switch rec.body[0] {
	case kindWhiteout:
		m.now.white = max(m.now.white, rec.layer)
	case kindOpaque:
		m.now.opaque = max(m.now.opaque, rec.layer)
	case kindDir:
		m.now.dir = &rec
	default:
		m.now.other = &rec
	}
	return nil
}

// settle decides what becomes of the path at hand.
func (m *merge) settle() error {
	if !m.open {
		return nil
	}
	m.open = false
	p := m.now
	above := m.reach(p.key)
	floor := max(above.floor, p.white)
	f := &frame{key: p.key, hidden: floor, floor: floor}
	if p.key != "" {
		m.stack = append(m.stack, f)
	} else {
		f = m.stack[0]
		f.hidden, f.floor = floor, floor
	}
	seen := func(r *record) bool { return r != nil && r.layer >= floor }
	if above.blocked && above != f {
		f.blocked = true
		if (seen(p.dir) || seen(p.other)) && m.odd != nil {
			m.odd[belowNoFolder]++
		}
		return nil
	}
	f.floor = max(f.floor, p.opaque)
	switch {
	case !seen(p.dir) && !seen(p.other):
		for _, r := range []*record{p.dir, p.other} { // it is gone, what it was unpacked in is not
			if r != nil {
				if err := m.above(f, r.layer); err != nil {
					return err
				}
			}
		}
		return nil
	case seen(p.dir) && (!seen(p.other) || p.dir.compare(*p.other) > 0):
		if seen(p.other) {
			f.floor = max(f.floor, p.other.layer) // what was no folder had nothing inside
		}
		return m.give(f, *p.dir)
	}
	f.floor, f.blocked = max(f.floor, p.other.layer), true
	return m.give(f, *p.other)
}

// reach makes the stack end at the folder that holds a path. Folders that no layer has by
// themselves are made on the way.
func (m *merge) reach(key string) *frame {
	top := func() *frame { return m.stack[len(m.stack)-1] }
	for len(m.stack) > 1 && !strings.HasPrefix(key, top().key+"\x00") {
		m.stack = m.stack[:len(m.stack)-1]
	}
	for {
		at := len(top().key)
		if at > 0 {
			at++
		}
		i := -1
		if at < len(key) {
			i = strings.IndexByte(key[at:], 0)
		}
		if i < 0 {
			return top()
		}
		m.stack = append(m.stack, &frame{key: key[:at+i], hidden: top().floor, floor: top().floor, blocked: top().blocked})
	}
}

// above passes on the folders above a path that no layer has, as far as that layer made
// them.
func (m *merge) above(f *frame, layer uint32) error {
	for _, a := range m.stack {
		if a == f || a.blocked || layer < a.hidden {
			break
		}
		if a.given {
			continue
		}
		a.given = true
		implied := File{Type: typeDir, Mode: "0755", Implied: true}
		implied.Path, implied.PathB64 = text(pathOf(a.key))
		if err := m.fn(implied); err != nil {
			return err
		}
	}
	return nil
}

// give passes a path on.
func (m *merge) give(f *frame, rec record) error {
	if err := m.above(f, rec.layer); err != nil {
		return err
	}
	f.given = true
	file, err := decode(rec)
	if err != nil {
		return err
	}
	return m.fn(file)
}
