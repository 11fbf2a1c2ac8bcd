package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/urfave/cli/v2"

	"irkit.dev/irkit/agent/embedded"
	"irkit.dev/irkit/agent/image"
)

func (d *door) agent() *cli.Command {
	return &cli.Command{
		Name: "agent", Usage: "irkit's own image for the hand beside the target",
		Subcommands: []*cli.Command{
			{
				Name: "image", Usage: "write the image as an archive that `ctr images import` and `docker load` take",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Value: "irkit-agent.tar", Usage: "`FILE` to write"},
					&cli.StringFlag{Name: "ref", Value: "irkit.dev/agent:" + version, Usage: "`REF` that names it in the archive"},
				},
				Action: func(c *cli.Context) error {
					path, err := filepath.Abs(c.String("file"))
					if err != nil {
						return err
					}
					if err := writeImage(path, c.String("ref")); err != nil {
						return err
					}
					fmt.Fprintln(d.stdout, path)
					return nil
				},
			},
			{
				Name: "push", Usage: "push the image to a registry, with the credentials of its client (docker login)", ArgsUsage: "REF",
				Action: func(c *cli.Context) error {
					ref, err := only(c, "image reference")
					if err != nil {
						return err
					}
					index, err := agentImage()
					if err != nil {
						return err
					}
					digest, err := image.Push(c.Context, ref, index, image.PushOptions{})
					if err != nil {
						return err
					}
					fmt.Fprintln(d.stdout, digest)
					return nil
				},
			},
		},
	}
}

func writeImage(path, ref string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write agent image: %w", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	index, err := agentImage()
	if err != nil {
		return err
	}
	return image.Archive(f, ref, index)
}

// agentImage is the image of all embedded agents.
func agentImage() (v1.ImageIndex, error) {
	binaries := map[string][]byte{}
	for _, arch := range embedded.Arches() {
		b, err := embedded.Binary(arch)
		if err != nil {
			return nil, withHint(err, embedded.Hint)
		}
		binaries[arch] = b
	}
	return image.Build(version, binaries)
}
