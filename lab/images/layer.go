package images

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const architecture = runtime.GOARCH

// file is one entry of a layer.
type file struct {
	path   string
	mode   int64
	link   string // what a symbolic link points to
	source string // a file of this machine, or else
	text   string // the content itself
}

// program is a single executable in the root of an image.
func program(path, source string) []file {
	return []file{{path: path, mode: 0o755, source: source}}
}

// account makes a user known by name.
func account(line string) []file {
	return []file{
		{path: "etc/", mode: 0o755},
		{path: "etc/passwd", mode: 0o644, text: line},
	}
}

// busybox is a small root file system: a shell and its tools, and places to write.
func busybox(binary string) ([]file, error) {
	applets, err := exec.Command(binary, "--list").Output()
	if err != nil {
		return nil, err
	}
	files := []file{
		{path: "bin/", mode: 0o755},
		{path: "bin/busybox", mode: 0o755, source: binary},
		{path: "tmp/", mode: 0o1777},
		{path: "root/", mode: 0o700},
		{path: "var/", mode: 0o755},
		{path: "var/spool/", mode: 0o755},
		{path: "var/spool/cron/", mode: 0o755},
	}
	files = append(files, account("root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/tmp:/bin/sh\n")...)
	for applet := range strings.FieldsSeq(string(applets)) {
		if applet != "busybox" {
			files = append(files, file{path: "bin/" + applet, mode: 0o777, link: "busybox"})
		}
	}
	return files, nil
}

// pack makes a layer whose digest depends on the content alone.
func pack(files []file) (v1.Layer, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, f := range files {
		if err := f.write(w); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	})
}

func (f file) write(w *tar.Writer) error {
	content := []byte(f.text)
	header := &tar.Header{Name: f.path, Mode: f.mode, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
	switch {
	case f.link != "":
		header.Typeflag, header.Linkname = tar.TypeSymlink, f.link
	case strings.HasSuffix(f.path, "/"):
		header.Typeflag = tar.TypeDir
	case f.source != "":
		read, err := os.ReadFile(f.source)
		if err != nil {
			return err
		}
		content = read
	}
	header.Size = int64(len(content))
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}
