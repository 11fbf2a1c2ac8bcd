package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// churn writes a tree of N small files, a thousand to a directory.
func churn(ctx context.Context, arguments []string) error {
	count, err := strconv.Atoi(arguments[1])
	if err != nil {
		return fmt.Errorf("not a number of files: %q", arguments[1])
	}
	for n := 0; n < count && ctx.Err() == nil; n++ {
		directory := filepath.Join(arguments[0], fmt.Sprintf("d%04d", n/1000))
		if n%1000 == 0 {
			if err := os.MkdirAll(directory, 0o755); err != nil {
				return err
			}
		}
		path := filepath.Join(directory, fmt.Sprintf("f%06d", n))
		if err := os.WriteFile(path, fmt.Appendf(nil, "file %d of %d\n", n, count), 0o644); err != nil {
			return err
		}
	}
	fmt.Println("wrote", count, "files below", arguments[0])
	return nil
}
