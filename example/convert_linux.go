package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/seed-642172e2/aufs"
)

// convert converts the layers of a store to aufs form. It prints which layers it has converted, and which it has not and why. It returns
// the program's exit status: 0 if all layers are in aufs form, 1 if some are not, 2 if it could not look.
func convert(ctx context.Context, args []string, out, errs io.Writer) int {
	fs := flag.NewFlagSet("example convert", flag.ContinueOnError)
	fs.SetOutput(errs)
	fs.Usage = func() {
		fmt.Fprintln(errs, "usage: example convert home\nhome is the driver's directory, <graph root>/aufs; nothing of it should be mounted")
	}
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if fs.NArg() != 1 {
		fs.Usage()
		return 2
	}
	home := fs.Arg(0)
	before, err := overlayLayers(home)
	var left []string
	if err == nil {
		err = aufs.Convert(ctx, home)
		var lerr error
		left, lerr = overlayLayers(home)
		err = errors.Join(err, lerr)
	}
	for _, id := range before {
		if !slices.Contains(left, id) {
			fmt.Fprintln(out, "converted: layer", id)
		}
	}
	switch {
	case err == nil:
		fmt.Fprintln(out, "all layers are in aufs form")
		return 0
	case len(left) > 0:
		fmt.Fprintf(errs, "example convert: these are not converted, and why:\n%v\n", err)
		return 1
	}
	fmt.Fprintln(errs, "example convert:", err)
	return 2
}

// overlayLayers returns the ids of the layers that a record calls wholly or partly in overlay form.
func overlayLayers(home string) ([]string, error) {
	dir := filepath.Join(home, "overlay", "form")
	records, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	for _, record := range records {
		id := record.Name()
		if _, lerr := os.Lstat(filepath.Join(home, "layers", id)); errors.Is(lerr, os.ErrNotExist) {
			// The record belongs to a layer that was removed.
			continue
		}
		form, rerr := os.Readlink(filepath.Join(dir, id))
		if errors.Is(rerr, os.ErrNotExist) || rerr == nil && form == "aufs" {
			continue
		}
		ids, err = append(ids, id), errors.Join(err, rerr)
	}
	return ids, err
}
