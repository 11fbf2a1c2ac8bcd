// Package worker is the process beside the target: it waits on a socket that irkit's
// relay reaches through exec, proves nothing and believes nobody but the holder of
// the key it was started for, and does what a Hand promises. It outlives its
// connections, and ends when it is told to or when its life is over.
package worker
