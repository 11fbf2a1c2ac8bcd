package report

import (
	"math"
	"time"
)

// picture is the timeline, as an SVG. The first second matters as much as the next ten
// minutes: its scale is logarithmic from 50 ms on.
type picture struct {
	Start         time.Time
	Dots          []moment
	Ticks         []tick
	Height, Floor int
}

type tick struct {
	X    float64
	Text string
}

const (
	left, right = 320.0, 860.0
	top, step   = 34, 26
)

func draw(start time.Time, ms []moment) picture {
	p := picture{Start: start, Dots: ms, Floor: top + step*len(ms), Height: top + step*len(ms) + 14}
	if start.IsZero() || len(ms) == 0 {
		return picture{}
	}
	last := time.Second
	for _, m := range ms {
		last = max(last, m.At.Sub(start))
	}
	at := func(d time.Duration) float64 {
		f := math.Log1p(max(d, 0).Seconds()/0.05) / math.Log1p(last.Seconds()/0.05)
		return math.Round((left+f*(right-left))*10) / 10
	}
	for i := range p.Dots {
		m := &p.Dots[i]
		m.X, m.Y, m.Rel = at(m.At.Sub(start)), top+step*i+step/2, since(start, m.At)
	}
	for _, t := range []struct {
		d    time.Duration
		text string
	}{{0, "0"}, {100 * time.Millisecond, "0.1 s"}, {time.Second, "1 s"}, {10 * time.Second, "10 s"}, {time.Minute, "1 min"},
		{10 * time.Minute, "10 min"}, {time.Hour, "1 h"}, {10 * time.Hour, "10 h"}} {
		if t.d <= last {
			p.Ticks = append(p.Ticks, tick{at(t.d), t.text})
		}
	}
	return p
}
