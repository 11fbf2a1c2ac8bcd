package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"irkit.dev/irkit/lab/cgroup"
	"irkit.dev/irkit/lab/network"
	"irkit.dev/irkit/lab/node"
	"irkit.dev/irkit/lab/place"
)

// Down ends the lab and removes all of it but the compiled parts and the logs.
// It does the same for what an interrupted Up or Down left, and nothing when
// there is nothing.
func (l Lab) Down() error {
	release, err := l.alone()
	if err != nil {
		return err
	}
	defer release()
	return l.clean()
}

// clean takes away in the order in which the rest stays findable: the record of
// the first process goes only after that process is gone.
func (l Lab) clean() error {
	if err := os.Remove(l.marker()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	record, err := node.Read(l.record())
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if err := record.Kill(); err != nil {
			return err
		}
	}
	if err := errors.Join(
		network.Remove(),
		cgroup.Remove(place.ControlGroup),
		l.empty(l.Layout.State, "log"),
		l.empty(l.Layout.Run, "lock", "node.json"),
	); err != nil {
		return fmt.Errorf("cannot clean up: %w", err)
	}
	return node.Forget(l.record())
}

// empty removes what is in a directory, but for what is to be kept.
func (l Lab) empty(directory string, keep ...string) error {
	entries, err := os.ReadDir(directory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	kept := map[string]bool{}
	for _, name := range keep {
		kept[name] = true
	}
	var failed []error
	for _, entry := range entries {
		if !kept[entry.Name()] {
			failed = append(failed, os.RemoveAll(directory+"/"+entry.Name()))
		}
	}
	return errors.Join(failed...)
}
