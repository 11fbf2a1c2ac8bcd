package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

const (
	quiet   = 4 * time.Second  // without a sound: it has stopped
	forever = 90 * time.Second // after which a way has not contained it
	never   = time.Duration(-1)
)

// seen is when the command server heard of the pod last, after the start of a way; never
// when it still does.
type seen struct{ established, fresh time.Duration }

// sighting is one line of the command server's log.
type sighting struct {
	Ms    int64  `json:"ms"`
	Event string `json:"event"` // accept, line, close
	Peer  string `json:"peer"`
}

// ear follows the log from where it stands now, for one address.
type ear struct {
	file *os.File
	in   *bufio.Reader
	half string
	ip   string

	line, accept time.Time // heard last
}

func (b *bench) listen(ip string) (*ear, error) {
	f, err := os.Open(b.log)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return nil, err
	}
	return &ear{file: f, in: bufio.NewReader(f), ip: ip + ":"}, nil
}

// hear takes in what was logged since.
func (e *ear) hear() error {
	for {
		text, err := e.in.ReadString('\n')
		if err == io.EOF {
			e.half += text
			return nil
		}
		if err != nil {
			return err
		}
		var s sighting
		text, e.half = e.half+text, ""
		if json.Unmarshal([]byte(text), &s) != nil || !strings.HasPrefix(s.Peer, e.ip) {
			continue
		}
		switch at := time.UnixMilli(s.Ms); s.Event {
		case "line":
			e.line = at
		case "accept":
			e.accept = at
		}
	}
}

// talks waits until the pod is heard of, both ways.
func (e *ear) talks(ctx context.Context) error {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if err := e.hear(); err != nil {
			return err
		}
		if !e.line.IsZero() && !e.accept.IsZero() {
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("the command server hears nothing of %s", e.ip)
}

// silence waits until nothing was heard for a while.
func (e *ear) silence(ctx context.Context, began time.Time) (seen, error) {
	for {
		if err := e.hear(); err != nil {
			return seen{}, err
		}
		now := time.Now()
		over := now.Sub(began) > forever
		if over || now.Sub(latest(began, e.line, e.accept)) > quiet {
			return seen{e.stopped(began, e.line), e.stopped(began, e.accept)}, nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return seen{}, err
		}
	}
}

func (e *ear) stopped(began, last time.Time) time.Duration {
	if time.Since(last) <= quiet {
		return never
	}
	return max(0, last.Sub(began))
}

func latest(times ...time.Time) (t time.Time) {
	for _, u := range times {
		if u.After(t) {
			t = u
		}
	}
	return t
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
