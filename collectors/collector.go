// Package collectors is the reading wing: nothing in it changes what the target does.
// A collector turns one source (the API server, the kubelet's logs, the hand beside
// the target) into entries of a bundle. What it could not have is an entry too.
package collectors

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"irkit.dev/irkit/evidence"
)

// Collector reads one source. Both methods may be called more than once; Collect
// reads anew each time.
//
// Collect files everything it can, one entry for each artifact, and goes on after one
// that it could not have. A source that answered "no" (permission missing, not there)
// becomes an entry with status impossible and the reason; it never becomes an empty
// artifact, and is no error. An error means that bytes are missing that were on their
// way (a broken stream, a full disk, an ended context): what came is kept, and the
// error joins all such causes. When ctx ends, Collect returns its error soon.
type Collector interface {
	Traits() Traits
	Collect(ctx context.Context, t evidence.Target, sink evidence.Sink) error
}

// Traits say what a collector is, as data: the plan, the preflight and the
// permissions' documentation are made from them without running it.
type Traits struct {
	Name       string          // [a-z0-9-], stable; with the container's ordinal where there is one
	Volatility int             // rank; lower fades first (RFC 3227, section 2.1)
	Rules      []evidence.Rule // permissions that it uses
	Profile    Profile         // the hand that it needs
}

// Profile names what a collector needs beside the target.
type Profile string

// Profiles of a hand.
const (
	NoHand   Profile = ""     // reads through the API server alone
	AnyHand  Profile = "any"  // the pod's network namespace is enough
	ReadHand Profile = "read" // reads the target's processes and files
)

// Ranks of volatility: what fades first is read first (RFC 3227, section 2.1).
const (
	RankMemory     = 10 // process and socket tables
	RankProcess    = 20 // environment, descriptors, mounts
	RankRecovered  = 25 // bytes whose last name is gone
	RankEvents     = 30 // the API server keeps them one hour
	RankLogs       = 35
	RankObjects    = 40
	RankPlaces     = 45 // known persistence places
	RankFilesystem = 50
	RankVolumes    = 60
)

var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Validate reports traits that a plan could not be made of.
func (t Traits) Validate() error {
	var errs []error
	if !nameForm.MatchString(t.Name) {
		errs = append(errs, fmt.Errorf("name %q: want [a-z0-9-], 1 to 63", t.Name))
	}
	if t.Volatility <= 0 {
		errs = append(errs, fmt.Errorf("volatility %d: want a rank above 0", t.Volatility))
	}
	for _, r := range t.Rules {
		if r.Resource == "" || len(r.Verbs) == 0 || r.Scope == "" || r.Why == "" {
			errs = append(errs, fmt.Errorf("rule %+v: resource, verbs, scope and why are all needed", r))
		}
	}
	return errors.Join(errs...)
}
