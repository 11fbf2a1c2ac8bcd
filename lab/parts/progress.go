package parts

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Progress shows how a build gets on. On a terminal the line of the running part
// counts its seconds; elsewhere each part has one plain line when it begins and
// one when it is done.
type Progress struct{ Out io.Writer }

// Begin announces part k of n; the answer is to be called when it is done.
func (p Progress) Begin(k, n int, name string) func(time.Duration, error) {
	if k == 1 {
		fmt.Fprintln(p.Out, "lab: compiling from Go modules; all of it, cold, takes about 20 minutes on two cores")
	}
	title := fmt.Sprintf("lab: part %d of %d, %s", k, n, name)
	if !p.terminal() {
		fmt.Fprintf(p.Out, "%s: compiling\n", title)
		return func(took time.Duration, err error) {
			fmt.Fprintf(p.Out, "%s: %s after %s\n", title, outcome(err), took.Round(time.Second))
		}
	}
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		began := time.Now()
		for {
			fmt.Fprintf(p.Out, "\r%s: compiling, %s ", title, time.Since(began).Round(time.Second))
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
			}
		}
	}()
	return func(took time.Duration, err error) {
		close(stop)
		<-stopped
		fmt.Fprintf(p.Out, "\r%s: %s after %s      \n", title, outcome(err), took.Round(time.Second))
	}
}

func (p Progress) terminal() bool {
	file, ok := p.Out.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

func outcome(err error) string {
	if err != nil {
		return "failed"
	}
	return "done"
}
