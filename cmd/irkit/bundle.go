package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/dirstore"
	"irkit.dev/irkit/evidence/objectstore"
	"irkit.dev/irkit/evidence/report"
	"irkit.dev/irkit/evidence/verify"
	"irkit.dev/irkit/playbooks"
)

func (d *door) verify() *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "check a bundle: is it whole, and whose is it?", ArgsUsage: "BUNDLE",
		Description: `Offline, and without trust in what made the bundle. Two answers: integrity, and origin.
Origin is checked only against signers that you bring; without --signers it is "not
checked", and the fingerprint is shown for you to compare.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "signers", Usage: "`FILE` of allowed signers, in the format of ssh-keygen(1), from another channel than the bundle"},
			outputFlag(),
		},
		Action: func(c *cli.Context) error {
			dir, err := only(c, "bundle")
			if err != nil {
				return err
			}
			if !isFolder(dir) {
				return usagef("a bundle is the folder irkit-<case>-<ulid>", fmt.Errorf("%s is no folder", dir))
			}
			result, err := verify.Bundle(c.Context, dir, verify.Options{Signers: c.String("signers")})
			if err != nil {
				return err
			}
			return d.tellVerified(c, result)
		},
	}
}

func (d *door) report() *cli.Command {
	return &cli.Command{
		Name: "report", Usage: "write a bundle's report anew, as one HTML file", ArgsUsage: "BUNDLE",
		Flags: []cli.Flag{&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "`FILE` to write (default: stdout)"}},
		Action: func(c *cli.Context) (err error) {
			dir, err := only(c, "bundle")
			if err != nil {
				return err
			}
			root, err := os.OpenRoot(dir)
			if err != nil {
				return fmt.Errorf("open bundle: %w", err)
			}
			defer root.Close()
			w := d.stdout
			if path := c.String("file"); path != "" {
				f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
				if err != nil {
					return fmt.Errorf("write report: %w", err)
				}
				defer func() { err = errors.Join(err, f.Close()) }()
				w = f
			}
			return report.Write(c.Context, root.FS(), w, report.Options{Lang: "en"})
		},
	}
}

func (d *door) upload() *cli.Command {
	return &cli.Command{
		Name: "upload", Usage: "put a sealed bundle to a store; goes on where an earlier try ended", ArgsUsage: "BUNDLE",
		Flags: flags(storeFlags(), []cli.Flag{outputFlag()}),
		Action: func(c *cli.Context) error {
			dir, err := only(c, "bundle")
			if err != nil {
				return err
			}
			path, err := filepath.Abs(dir)
			if err != nil {
				return err
			}
			var o playbooks.Order
			if err := d.openStore(c, &o); err != nil {
				return err
			}
			if o.OpenStore == nil {
				return usagef("--store s3://bucket/prefix, or a folder", errors.New("no --store given"))
			}
			store, err := o.OpenStore(c.Context)
			if err != nil {
				return outcome{statusPartial, fmt.Errorf("not stored: %w", err)}
			}
			e := playbooks.Engine{Actor: d.actor(), Now: d.now, Progress: d.say}
			receipt, err := e.Upload(c.Context, path, store)
			if err != nil {
				return outcome{statusPartial, fmt.Errorf("not stored: %w", err)}
			}
			if asData(c) {
				_, err := d.data(c, map[string]string{"receipt": receipt})
				return err
			}
			fmt.Fprintln(d.stdout, receipt)
			return nil
		},
	}
}

// openStore opens the place that --store names, before anything is done to the target: a
// mistake in it is told now. That a bucket cannot be reached is no mistake: the bundle is
// sealed here, and uploaded later.
func (d *door) openStore(c *cli.Context, o *playbooks.Order) error {
	place := c.String("store")
	if place == "" {
		return nil
	}
	if !strings.Contains(place, "://") {
		o.OpenStore = func(context.Context) (evidence.Store, error) { return dirstore.Open(place) }
		return nil
	}
	bucket, prefix, err := objectstore.Parse(place)
	if err != nil {
		return usagef("", err)
	}
	config, err := objectstore.FromEnv(d.getenv)
	if err != nil {
		return usagef("", err)
	}
	config.Bucket, config.Prefix, config.Now = bucket, prefix, d.now
	if lock := c.String("lock"); lock != "" {
		config.Lock, config.Retain = objectstore.Lock(strings.ToUpper(lock)), c.Duration("retain")
	}
	config.LegalHold = config.LegalHold || c.Bool("legal-hold")
	o.OpenStore = func(ctx context.Context) (evidence.Store, error) { return objectstore.Open(ctx, config) }
	return nil
}
