//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// request is one line of the API server's audit log (audit.k8s.io/v1, Event).
type request struct {
	AuditID   string    `json:"auditID"`
	Stage     string    `json:"stage"`
	Verb      string    `json:"verb"`
	URI       string    `json:"requestURI"`
	UserAgent string    `json:"userAgent"`
	User      apiUser   `json:"user"`
	As        *apiUser  `json:"impersonatedUser"`
	Object    requested `json:"objectRef"`
	Received  time.Time `json:"requestReceivedTimestamp"`
}

type apiUser struct {
	Name   string   `json:"username"`
	Groups []string `json:"groups"`
}

type requested struct {
	Resource    string `json:"resource"`
	Subresource string `json:"subresource"`
	Namespace   string `json:"namespace"`
	Name        string `json:"name"`
}

func (r request) String() string { return fmt.Sprintf("%s %s (%s)", r.Verb, r.URI, r.AuditID) }

// acting is the identity that the API server's authorizers saw.
func (r request) acting() apiUser {
	if r.As != nil {
		return *r.As
	}
	return r.User
}

// streams: it runs something in a container, or attaches to it.
func (r request) streams() bool {
	return slices.Contains([]string{"exec", "attach", "portforward"}, r.Object.Subresource)
}

// writes: it changes what the cluster stores, and is no dry run; reviews answer a question.
func (r request) writes() bool {
	u, err := url.Parse(r.URI)
	dry := err == nil && u.Query().Has("dryRun")
	return slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, r.Verb) &&
		!r.streams() && !dry && !strings.HasSuffix(r.Object.Resource, "reviews")
}

// auditLog is what irkit's programs asked of the API server since then, each request once,
// rotated files included. It needs no test, since it is also read when all have ended.
func auditLog(since time.Time) ([]request, error) {
	files, err := filepath.Glob(filepath.Join(labDir, "log", "audit*.log"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no audit log in %s: %w", labDir, err)
	}
	var all []request
	seen := map[string]bool{}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			if !bytes.Contains(lines.Bytes(), []byte(`"userAgent":"irkit/`)) {
				continue
			}
			var r request
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				continue // the last line may be half written
			}
			if !seen[r.AuditID] && !r.Received.Before(since) {
				seen[r.AuditID] = true
				all = append(all, r)
			}
		}
		err = lines.Err()
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
	}
	slices.SortFunc(all, func(a, b request) int { return a.Received.Compare(b.Received) })
	return all, nil
}

// TestMain holds the whole run to its claim: nothing of it was done by an administrator.
// It looks when the last test, side by side or not, has ended.
func TestMain(m *testing.M) {
	began := time.Now()
	status := m.Run()
	if labTool == "" { // nothing ran but what needs no cluster
		os.Exit(status)
	}
	all, err := auditLog(began)
	if err != nil {
		fmt.Println("FAIL: who irkit was:", err)
		status = max(status, 1)
	}
	who := map[string]int{}
	for _, r := range all {
		who[r.acting().Name]++
		if slices.Contains(r.acting().Groups, "system:masters") {
			fmt.Printf("FAIL: irkit acted as %s, an administrator: %s\n", r.acting().Name, r)
			status = max(status, 1)
		}
	}
	fmt.Println("requests of irkit by identity:", who)
	os.Exit(status)
}
