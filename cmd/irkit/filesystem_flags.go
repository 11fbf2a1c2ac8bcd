package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/playbooks/actions"
)

// filesystemFlags say how much of a file system comes, and where its image may be looked for.
func filesystemFlags() []cli.Flag {
	return in("Evidence",
		&cli.StringFlag{Name: "filesystem", Usage: "`HOW` file systems are taken: drift (the bytes of what differs from the image, where that can be read; " +
			"else whole), whole (default: the playbook's, drift)"},
		&cli.StringSliceFlag{Name: "image-archive", Usage: "`FILE` or folder with container images (OCI layout, docker save), to hold file systems against"},
		&cli.StringSliceFlag{Name: "registry", EnvVars: []string{"IRKIT_REGISTRY"}, Usage: "`HOST` of a registry that may be asked for the target's image, " +
			"or any; with your docker credentials, else as nobody. Whoever runs it learns that you look"},
	)
}

func filesystemOf(c *cli.Context, o *playbooks.Order) error {
	if o.Filesystem = c.String("filesystem"); o.Filesystem != "" && !actions.FilesystemWord(o.Filesystem) {
		return usagef("", fmt.Errorf("--filesystem %s: want drift or whole", o.Filesystem))
	}
	o.Images.Archives, o.Images.Registries = c.StringSlice("image-archive"), flatWords(c.StringSlice("registry"))
	for _, file := range o.Images.Archives {
		if _, err := os.Stat(file); err != nil {
			return usagef("", fmt.Errorf("--image-archive: %w", err))
		}
	}
	return nil
}
