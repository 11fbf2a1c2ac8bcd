package quarantine_test

import "math/rand/v2"

// gen draws from small alphabets, so that things meet often.
type gen struct{ *rand.Rand }

func pick[T any](g gen, from ...T) T { return from[g.IntN(len(from))] }

func (g gen) labels() map[string]string {
	m := map[string]string{}
	for _, k := range []string{"a", "b", "c"} {
		if g.IntN(2) == 0 {
			m[k] = pick(g, "1", "2")
		}
	}
	return m
}
