//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// ear reads the command server's log on from where it read last: the log grows by the
// second, and every test asks of it several times in one.
type ear struct {
	mu   sync.Mutex
	read int64                // how much of the log
	rest []byte               // a line that is not whole yet
	last map[string]time.Time // by address
}

var commandServer = ear{last: map[string]time.Time{}}

// heard is when the command server outside of the cluster heard of an address last.
func heard(t *testing.T, ip string) time.Time {
	t.Helper()
	last, err := commandServer.of(ip)
	if err != nil {
		t.Fatal(err)
	}
	return last
}

func (e *ear) of(ip string) (time.Time, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f, err := os.Open(filepath.Join(labDir, "log", "c2.log"))
	if errors.Is(err, fs.ErrNotExist) { // nobody called yet
		return e.last[ip], nil
	}
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, e.read, 1<<40))
	if err != nil {
		return time.Time{}, err
	}
	e.read += int64(len(b))
	e.rest = append(e.rest, b...)
	for {
		line, after, whole := bytes.Cut(e.rest, []byte("\n"))
		if !whole {
			return e.last[ip], nil
		}
		e.rest = after
		var k tick
		if json.Unmarshal(line, &k) != nil {
			continue
		}
		host, _, err := net.SplitHostPort(k.Peer)
		if at := time.UnixMilli(max(k.Ms, k.Time)); err == nil && at.After(e.last[host]) {
			e.last[host] = at
		}
	}
}
