//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
)

// corePatterns match the packages that the drivers of all libraries are made of, and the one that tests them with a library.
var corePatterns = []string{"./internal/core/...", "./internal/drivertest/..."}

// corePackages returns the directories of the packages that match corePatterns and have tests on the processor arch.
func corePackages(ctx context.Context, arch string) ([]string, error) {
	// The format prints import paths relative to the module's path.
	const format = "{{if or .TestGoFiles .XTestGoFiles}}{{slice .ImportPath (len .Module.Path)}}{{end}}"
	cmd := command(ctx, "go", append([]string{"list", "-tags", tagsOwn, "-f", format}, corePatterns...)...)
	cmd.Env = guestEnv(arch)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", cmd, err, said.String())
	}
	var dirs []string
	for _, path := range strings.Fields(string(out)) {
		dirs = append(dirs, strings.TrimPrefix(path, "/"))
	}
	return dirs, nil
}
