package evidence

import "time"

// State is what a verdict says of one layer, one direction, or the whole.
type State string

// States, from best to worst.
const (
	Contained        State = "CONTAINED"
	ContainedNewOnly State = "CONTAINED_NEW_ONLY" // established flows remain, listed
	Partial          State = "PARTIAL"            // something still passes, named
	Unverified       State = "UNVERIFIED"         // nothing that counts was measured
	Failed           State = "FAILED"
)

var stateRank = map[State]int{Contained: 0, ContainedNewOnly: 1, Partial: 2, Unverified: 3, Failed: 4}

// Worse is the worse of two states; an unknown one counts as Failed.
func Worse(a, b State) State {
	if rank(a) >= rank(b) {
		return a
	}
	return b
}

// Better is the better of two states.
func Better(a, b State) State {
	if rank(a) <= rank(b) {
		return a
	}
	return b
}

func rank(s State) int {
	if r, ok := stateRank[s]; ok {
		return r
	}
	return stateRank[Failed]
}

// LayerVerdict is what was measured of one layer by itself.
type LayerVerdict struct {
	Layer   string     `json:"layer"`
	Applied bool       `json:"applied"`
	Out     State      `json:"outbound"`
	In      State      `json:"inbound"`
	Held    *time.Time `json:"held,omitempty"` // when it was first seen to hold, by itself
	Undoes  bool       `json:"target_can_undo,omitempty"`
	Why     []string   `json:"why"`
}

// Verdict says whether the target is contained, and on what evidence.
type Verdict struct {
	State    State          `json:"state"`
	Outbound State          `json:"outbound"`
	Inbound  State          `json:"inbound"`
	Why      []string       `json:"why"` // one sentence each, for a person
	Layers   []LayerVerdict `json:"layers"`
	Started  time.Time      `json:"started"`  // when the command began to act
	Measured time.Time      `json:"measured"` // when the last measurement ended
	// EstablishedStopped is when the flows that stood at the cut were last seen to
	// move, NewStopped when the first new connection failed that had worked before.
	EstablishedStopped *time.Time    `json:"established_stopped,omitempty"`
	NewStopped         *time.Time    `json:"new_stopped,omitempty"`
	PolicyHeld         *time.Time    `json:"policy_held,omitempty"` // the NetworkPolicy by itself
	PolicyEnforced     *bool         `json:"policy_enforced,omitempty"`
	Probes             []ProbeResult `json:"probes"`
	Moving             []Flow        `json:"moving"` // flows that still moved after the cut
	Cut                *CutReport    `json:"cut,omitempty"`
	Restarts           []string      `json:"restarts"` // containers restarted since the start
	// Established are the connections that stood at the cut, with what they moved since;
	// Disturbed is what others did to the containment, as it stands now.
	Established []Stood       `json:"established,omitempty"`
	Disturbed   []Disturbance `json:"disturbed,omitempty"`
}
