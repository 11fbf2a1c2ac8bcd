// Package addons holds what every cluster has and no distribution put here: its
// DNS, and the class of its volume snapshots.
package addons

import (
	"embed"
	"io/fs"
)

// Files are the manifests.
//
//go:embed *.yaml
var Files embed.FS

//go:embed snapshots/*.yaml
var snapshots embed.FS

// Snapshots are the manifests whose kinds are there once those of snapshots are.
func Snapshots() fs.FS {
	sub, err := fs.Sub(snapshots, "snapshots")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	return sub
}
