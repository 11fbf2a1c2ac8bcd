//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"irkit.dev/irkit/evidence"
)

// soak reports whether the full sizes are wanted, not the sample.
func soak() bool { return os.Getenv("IRKIT_SOAK") != "" }

// sample is n in the quick suite and all in the soak.
func sample(n, all int) int {
	if soak() {
		return all
	}
	return n
}

// tree is what the archives of a container hold: path, type, size and digest of each
// member. Times are left out: the kubelet writes /etc/hosts anew for each hand.
func tree(t *testing.T, bundle, ordinal string) map[string]string {
	t.Helper()
	out := map[string]string{}
	all := entries(t, bundle)
	for _, kind := range []string{"persistence", "filesystem"} {
		e := find(t, all, kind, ordinal)
		if e.Status != evidence.Collected {
			t.Errorf("%s of %s: %s: %s", kind, ordinal, e.Status, e.Reason)
		}
		archive := tar.NewReader(bytes.NewReader(content(t, bundle, e)))
		for {
			h, err := archive.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Errorf("%s of %s: %v", kind, ordinal, err)
				break
			}
			sum := sha256.New()
			if _, err := io.Copy(sum, archive); err != nil {
				t.Errorf("%s of %s: %s: %v", kind, ordinal, h.Name, err)
			}
			out[kind+" "+h.Name] = fmt.Sprintf("%c %d %s %x", h.Typeflag, h.Size, h.Linkname, sum.Sum(nil))
		}
	}
	return out
}

// TestCutStreams breaks every connection to the API server in the middle, again and again.
// What irkit brings home is what an undisturbed run brings home.
func TestCutStreams(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	const mebibytes = 24
	pod := bulk(t, c, fmt.Sprint(mebibytes))
	calm := newPerson(t)
	whole := tree(t, calm.collect(pod, "--case", "calm").want(t, 0).result(t).Bundle, "c0")
	if len(whole) < 300 {
		t.Fatalf("undisturbed: %v", whole)
	}
	for seed := range uint64(sample(3, 100)) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			// From a fraction of the worker's window of 16 MiB to more than it.
			low := int64(512<<10) << random.IntN(3)
			proxy, kube := newProxy(t, responder, func() int64 { return low + random.Int64N(8*low) }, 0)
			p := newPerson(t)
			p.kube = kube
			r := p.collect(pod, "--case", fmt.Sprint("cut-", seed), "--transport", []string{"ws", "spdy"}[seed%2]).want(t, 0).result(t)
			cuts, bytes := proxy.was()
			t.Logf("%d connections cut, %d bytes passed", cuts, bytes)
			if cuts == 0 || bytes < mebibytes<<20 {
				t.Errorf("%d cuts and %d bytes: nothing was tried", cuts, bytes)
			}
			if got := tree(t, r.Bundle, "c0"); !maps.Equal(got, whole) {
				t.Errorf("%d members that are not those %d of an undisturbed run: %v", len(got), len(whole), got)
			}
			for _, e := range entries(t, r.Bundle) {
				if e.Status == evidence.Truncated || e.Status == evidence.Impossible {
					t.Errorf("%s of %s: %s: %s", e.Kind, e.Ordinal, e.Status, e.Reason)
				}
			}
			if err := verifyStock(t, r.Bundle); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCutEverything breaks connections so early that plain requests are hit too, not only
// streams that can be resumed. What then is not whole says so, and what says that it is
// whole is.
func TestCutEverything(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	pod := small(t, c)
	calm := newPerson(t)
	whole := tree(t, calm.collect(pod, "--case", "calm").want(t, 0).result(t).Bundle, "c0")
	for seed := range uint64(sample(1, 60)) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 2))
			low := int64(8<<10) << random.IntN(4)
			proxy, kube := newProxy(t, responder, func() int64 { return low + random.Int64N(8*low) }, 0)
			p := newPerson(t)
			p.kube = kube
			ran := p.collect(pod, "--case", fmt.Sprint("early-", seed))
			cuts, bytes := proxy.was()
			t.Logf("%d connections cut, %d bytes passed, exit %d", cuts, bytes, ran.code)
			if ran.code != 0 && ran.code != 3 {
				if bundles, _ := filepath.Glob(filepath.Join(p.home, "irkit", "cases", "*", "irkit-*")); ran.code != 1 || len(bundles) > 0 {
					t.Errorf("exit %d with bundles %q", ran.code, bundles)
				}
				return
			}
			r := ran.result(t)
			if err := verifyStock(t, r.Bundle); err != nil {
				t.Error(err)
			}
			short := 0
			for _, e := range entries(t, r.Bundle) {
				switch {
				case e.Status != evidence.Truncated && e.Status != evidence.Impossible:
				case e.Reason == "":
					t.Errorf("%s of %s: %s, and no reason", e.Kind, e.Ordinal, e.Status)
				default:
					short++
				}
			}
			if ran.code == 0 && short == 0 && !maps.Equal(tree(t, r.Bundle, "c0"), whole) {
				t.Error("it says that all is whole, and has other files than an undisturbed run")
			}
			if ran.code == 0 && short > 0 || ran.code == 3 && short+len(r.Failed) == 0 {
				t.Errorf("exit %d, %d entries not whole, failed %q", ran.code, short, r.Failed)
			}
		})
	}
}

// TestCutForGood takes the API server away in the middle of the file system and never
// gives it back: what came is sealed, says that it is truncated, and the status is 3.
// With the API server back, running again brings the rest.
func TestCutForGood(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	const mebibytes = 24
	pod := bulk(t, c, fmt.Sprint(mebibytes))
	random := rand.New(rand.NewPCG(7, 1))
	proxy, kube := newProxy(t, responder, nil, 2<<20+random.Int64N(8<<20))
	p := newPerson(t)
	p.kube = kube
	r := p.collect(pod, "--case", "gone").want(t, 3).says(t, "not whole").result(t)
	if cuts, _ := proxy.was(); cuts != 1 {
		t.Errorf("%d connections were cut, want 1", cuts)
	}
	e := find(t, entries(t, r.Bundle), "filesystem", "c0")
	if e.Status != evidence.Truncated || e.Reason == "" || e.Size == 0 || e.Size >= mebibytes<<20 {
		t.Errorf("filesystem: %s, %d bytes, %q", e.Status, e.Size, e.Reason)
	}
	if r.Seal.IsZero() || r.Missing == 0 {
		t.Errorf("seal %s, missing %d", r.Seal, r.Missing)
	}
	if err := verifyStock(t, r.Bundle); err != nil {
		t.Error(err)
	}
	p.irkit("verify", r.Bundle).want(t, 0)

	p.kube = responder
	again := p.collect(pod, "--case", "gone").want(t, 0).result(t)
	whole := find(t, entries(t, again.Bundle), "filesystem", "c0")
	if whole.Status != evidence.Collected || whole.Size < mebibytes<<20 {
		t.Errorf("again: filesystem: %s, %d bytes, %q", whole.Status, whole.Size, whole.Reason)
	}
	if first := records(t, again.Bundle)[0]; first.Earlier == nil || first.Earlier.Seal != r.Seal.Hex() {
		t.Errorf("the further bundle does not name the earlier seal: %+v", first.Earlier)
	}
}
