package verify

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
)

// manifest is one digest list: path to lower-case hex.
type manifest struct {
	name    string
	alg     string
	payload bool
	sums    map[string]string
}

var (
	manifestName  = regexp.MustCompile(`^(tag)?manifest-([a-z0-9]+)\.txt$`)
	manifestLine  = regexp.MustCompile(`^([0-9A-Fa-f]+)[ \t]+(\*?)(.+)$`)
	driveLetter   = regexp.MustCompile(`^[A-Za-z]:`)
	percentEscape = strings.NewReplacer("%0A", "\n", "%0a", "\n", "%0D", "\r", "%0d", "\r", "%25", "%")
)

// digestSize is the length of a digest in bytes; 0 for one that is not computed here.
func digestSize(alg string) int {
	switch alg {
	case "sha256":
		return 32
	case "sha512":
		return 64
	}
	return 0
}

// parseManifest reads a digest list as RFC 8493, section 2.1.3, has it: hex digits of
// either case, white space, path, with the asterisk and the ./ that common tools put
// there. A path that leaves the bag, or stands twice, is a finding and not in the result.
// With strict, only the one form that irkit writes passes: lower case, two spaces, a
// path of its own alphabet, line feed.
func parseManifest(name string, r io.Reader, strict bool, f *findings) (manifest, error) {
	m := manifest{name: name, sums: map[string]string{}}
	parts := manifestName.FindStringSubmatch(name)
	if parts == nil {
		return m, fmt.Errorf("%q is not the name of a manifest", name)
	}
	m.payload, m.alg = parts[1] == "", parts[2]
	br := bufio.NewReaderSize(r, 3*maxPath)
	for n := 1; ; n++ {
		raw, err := br.ReadSlice('\n')
		if len(raw) == 0 && errors.Is(err, io.EOF) {
			return m, nil
		}
		if errors.Is(err, bufio.ErrBufferFull) || n > maxFiles {
			f.add("too-much", name, "line %d: longer or more lines than this verifier reads", n)
			return m, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return m, err
		}
		m.line(n, string(raw), strict, f)
	}
}

func (m *manifest) line(n int, raw string, strict bool, f *findings) {
	line := strings.TrimSuffix(strings.TrimSuffix(raw, "\n"), "\r")
	parts := manifestLine.FindStringSubmatch(line)
	if parts == nil {
		f.add("manifest-form", m.name, "line %d is no digest and path", n)
		return
	}
	sum, p := strings.ToLower(parts[1]), parts[3]
	if size := digestSize(m.alg); size > 0 && len(sum) != hex.EncodedLen(size) {
		f.add("manifest-form", m.name, "line %d: %d hex digits are no %s", n, len(sum), m.alg)
		return
	}
	p = percentEscape.Replace(p)
	if rest, ok := strings.CutPrefix(p, "./"); ok {
		f.warn("manifest-form", m.name, "line %d: path begins with ./", n)
		p = rest
	}
	if why := outOfScope(p); why != "" {
		f.add("out-of-scope", m.name, "line %d: path %s %s", n, plain(p), why)
		return
	}
	if inData := strings.HasPrefix(p, "data/"); inData != m.payload {
		f.add("manifest-form", m.name, "line %d: path %s does not belong in this list", n, plain(p))
		return
	}
	if _, ok := m.sums[p]; ok {
		f.add("listed-twice", m.name, "line %d: %s stands there before", n, plain(p))
		return
	}
	if strict && (raw != sum+"  "+p+"\n" || !profilePath(p)) {
		f.add("manifest-form", m.name, "line %d has not the form that irkit writes", n)
	}
	m.sums[p] = sum
}

// outOfScope says why a path is not one of a file inside the bag.
func outOfScope(p string) string {
	switch {
	case strings.HasPrefix(p, "/"), strings.HasPrefix(p, `\`), driveLetter.MatchString(p):
		return "is absolute"
	case strings.HasPrefix(p, "~"):
		return "begins with a home folder"
	case strings.ContainsRune(p, 0):
		return "holds a NUL"
	}
	for part := range strings.SplitSeq(strings.ReplaceAll(p, `\`, "/"), "/") {
		if part == ".." {
			return "leaves the bag"
		}
	}
	if path.Clean(p) != p || p == "." {
		return "is not in its shortest form"
	}
	return ""
}

var (
	profilePayload = regexp.MustCompile(`^data(/[a-z0-9][a-z0-9._-]*){1,3}$`)
	profileTag     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,3}$`)
)

// profilePath says whether irkit could have given a file that name.
func profilePath(p string) bool {
	if p == "data" || strings.HasPrefix(p, "data/") {
		return profilePayload.MatchString(p)
	}
	return profileTag.MatchString(p) && !strings.HasPrefix(p, "tagmanifest-sha256.txt")
}
