package main

import (
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v2"
	"sigs.k8s.io/yaml"
)

// data prints a value to stdout where -o asks for json or yaml, and says whether it did.
// Both have the same fields in the same form.
func (d *door) data(c *cli.Context, v any) (bool, error) {
	switch c.String("output") {
	case "json":
		return true, d.json(v)
	case "yaml":
		text, err := yaml.Marshal(v)
		if err != nil {
			return true, fmt.Errorf("write %T as yaml: %w", v, err)
		}
		_, err = d.stdout.Write(text)
		return true, err
	}
	return false, nil
}

// asData reports whether stdout is for a program.
func asData(c *cli.Context) bool { return c.String("output") == "json" || c.String("output") == "yaml" }

func (d *door) json(v any) error {
	e := json.NewEncoder(d.stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
