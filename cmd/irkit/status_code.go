package main

import (
	"context"
	"errors"
)

// Exit statuses, decided once, the first that applies from the top.
const (
	statusInterrupted  = 130
	statusNotContained = 5
	statusPartial      = 3
	statusVerify       = 4
	statusRefused      = 6
	statusUsage        = 2
	statusFailed       = 1
	statusDone         = 0
)

const statusHelp = `Exit status:
   0  done
   1  failed
   2  usage
   3  sealed, but a step or the upload failed
   4  verification failed
   5  not proven contained
   6  refused, nothing changed
 130  interrupted (what was there is sealed)`

// outcome is an ending with a status of its own.
type outcome struct {
	status int
	error
}

func (o outcome) Unwrap() error { return o.error }

func usagef(hint string, err error) error {
	if hint != "" {
		err = withHint(err, hint)
	}
	return outcome{statusUsage, err}
}

func refused(err error, hints ...string) error {
	return outcome{statusRefused, withHint(err, hints...)}
}

// statusOf is the exit status for what run returned.
func statusOf(err error) int {
	var o outcome
	switch {
	case err == nil:
		return statusDone
	case errors.As(err, &o):
		return o.status
	case errors.Is(err, context.Canceled):
		return statusInterrupted
	}
	return statusFailed
}
