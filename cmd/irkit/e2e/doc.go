// Package e2e holds the suite that runs irkit against a real cluster, as a responder
// with the least rights would: `make e2e`. Its files carry the build tag e2e.
package e2e
