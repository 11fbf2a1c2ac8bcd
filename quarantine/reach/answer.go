package reach

// Answer is yes, no, or that it cannot be told from here: a policy of a kind that reads
// more than we can see (names of hosts, groups of a cloud, a field of a later version).
type Answer int8

// Answers, in the order in which one weakens the other.
const (
	No Answer = iota
	Unsure
	Yes
)

// String is for a person.
func (a Answer) String() string { return [...]string{"no", "not known", "yes"}[a] }

func answer(b bool) Answer {
	if b {
		return Yes
	}
	return No
}

// and is Yes only when all are, or only when any is, and not turns it round; Unsure stays.
func (a Answer) and(b Answer) Answer { return min(a, b) }
func (a Answer) or(b Answer) Answer  { return max(a, b) }
func (a Answer) not() Answer         { return Yes - a }

// any is the best answer of all items.
func anyOf[T any](all []T, ask func(T) Answer) Answer {
	out := No
	for _, x := range all {
		out = out.or(ask(x))
	}
	return out
}
