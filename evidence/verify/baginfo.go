package verify

import (
	"fmt"
	"strings"
)

// bagInfo is bag-info.txt: label to values, in order.
type bagInfo map[string][]string

// readBagInfo reads bag-info.txt (RFC 8493, section 2.2.2), which a bag need not have.
func readBagInfo(t *tree, f *findings) (bagInfo, error) {
	info := bagInfo{}
	text, err := t.read("bag-info.txt", 1<<20)
	if absent(err) {
		return info, nil
	}
	if err != nil {
		f.add("bag-info", "bag-info.txt", "%v", err)
		return info, nil
	}
	label := ""
	for n, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if v := info[label]; len(v) > 0 && strings.HasPrefix(strings.ReplaceAll(line, "\t", " "), " ") {
			v[len(v)-1] += " " + strings.TrimSpace(line)
			continue
		}
		before, value, ok := strings.Cut(line, ":")
		if !ok {
			f.add("bag-info", "bag-info.txt", "line %d has no label", n+1)
			continue
		}
		label = before
		info[label] = append(info[label], strings.TrimPrefix(value, " "))
	}
	return info, nil
}

// one is the value of a field that stands exactly once; else "".
func (i bagInfo) one(label string) string {
	if v := i[label]; len(v) == 1 {
		return v[0]
	}
	return ""
}

func (b *bag) oxum(f *findings) {
	if len(b.info["Payload-Oxum"]) == 0 {
		return
	}
	if want := fmt.Sprintf("%d.%d", b.bytes, b.count); b.info.one("Payload-Oxum") != want {
		f.add("oxum", "bag-info.txt", "Payload-Oxum is %q, the payload's is %s", b.info["Payload-Oxum"], want)
	}
}
