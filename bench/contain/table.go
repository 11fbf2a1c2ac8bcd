package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// table prints the medians, the spread and the ratios.
func table(w io.Writer, ways []way) error {
	fmt.Fprintf(w, "last heard of the pod after the start of the command: median (least to most)\n\n")
	fmt.Fprintf(w, "| way | runs | established connection | new connection |\n|---|---|---|---|\n")
	for _, y := range ways {
		if y.lacks != "" {
			fmt.Fprintf(w, "| %s | 0 | not measured: %s | |\n", y.name, y.lacks)
			continue
		}
		old, fresh := sorted(y.seen, func(s seen) time.Duration { return s.established }), sorted(y.seen, func(s seen) time.Duration { return s.fresh })
		fmt.Fprintf(w, "| %s | %d | %s | %s |\n", y.name, len(y.seen), spread(old), spread(fresh))
	}
	fmt.Fprintln(w)
	ours := contained(ways[0])
	for _, y := range ways[1:] {
		if y.lacks != "" {
			continue
		}
		theirs := contained(y)
		switch {
		case ours == never || len(ways[0].seen) == 0:
			fmt.Fprintf(w, "%s has not contained the pod\n", ways[0].name)
		case theirs == never:
			fmt.Fprintf(w, "ratio: %s never contained the pod within %s, %s in %s\n", y.name, forever, ways[0].name, said(ours))
		default:
			fmt.Fprintf(w, "ratio: %s / %s = %.2f\n", y.name, ways[0].name, float64(max(theirs, time.Millisecond))/float64(max(ours, time.Millisecond)))
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}

// contained is the median of the later of the two.
func contained(y way) time.Duration {
	return median(sorted(y.seen, func(s seen) time.Duration {
		if s.established == never || s.fresh == never {
			return never
		}
		return max(s.established, s.fresh)
	}))
}

// sorted has never at the end, as it is longer than anything.
func sorted(all []seen, of func(seen) time.Duration) []time.Duration {
	var out []time.Duration
	for _, s := range all {
		out = append(out, of(s))
	}
	slices.SortFunc(out, func(a, b time.Duration) int {
		switch {
		case a == b:
			return 0
		case a == never || b != never && a > b:
			return 1
		}
		return -1
	})
	return out
}

func median(sorted []time.Duration) time.Duration {
	if len(sorted) == 0 {
		return never
	}
	return sorted[len(sorted)/2]
}

func spread(sorted []time.Duration) string {
	if len(sorted) == 0 {
		return "-"
	}
	return fmt.Sprintf("%s (%s to %s)", said(median(sorted)), said(sorted[0]), said(sorted[len(sorted)-1]))
}

func said(d time.Duration) string {
	if d == never {
		return "never"
	}
	return d.Round(time.Millisecond).String()
}
