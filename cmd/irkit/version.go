package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/urfave/cli/v2"

	"irkit.dev/irkit/agent/embedded"
)

func (d *door) versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "which irkit this is, and with which agents",
		Flags: []cli.Flag{outputFlag()},
		Action: func(c *cli.Context) error {
			v := map[string]string{"version": version, "commit": commit, "go": runtime.Version(), "sha256": ownDigest()}
			for _, arch := range []string{"amd64", "arm64"} {
				v["agent_"+arch] = "absent: built without agent"
				if b, err := embedded.Binary(arch); err == nil {
					sum := sha256.Sum256(b)
					v["agent_"+arch] = "sha256:" + hex.EncodeToString(sum[:])
				}
			}
			if asData(c) {
				_, err := d.data(c, v)
				return err
			}
			for _, k := range []string{"version", "commit", "go", "sha256", "agent_amd64", "agent_arm64"} {
				fmt.Fprintf(d.stdout, "%-12s %s\n", k, v[k])
			}
			return nil
		},
	}
}

// ownDigest is the digest of the running program's file; empty where it cannot be read.
func ownDigest() string {
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}
