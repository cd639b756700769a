package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/seed-642172e2/aufs"
)

// check looks for problems in a store, and repairs some of them on request. It returns the program's exit status: 0 if there
// are no problems, or none are left; 1 if there are some; 2 if it could not look.
func check(ctx context.Context, args []string, out, errs io.Writer) int {
	fs := flag.NewFlagSet("example check", flag.ContinueOnError)
	fs.SetOutput(errs)
	fs.Usage = func() {
		fmt.Fprintln(errs, "usage: example check [-repair] home\nhome is the driver's directory, <graph root>/aufs")
		fs.PrintDefaults()
	}
	repair := fs.Bool("repair", false, "repair what can be repaired without a loss, and show what is left")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if fs.NArg() != 1 {
		fs.Usage()
		return 2
	}
	look := aufs.Check
	if *repair {
		look = aufs.Repair
	}
	problems, err := look(ctx, fs.Arg(0))
	for _, p := range problems {
		fmt.Fprintln(out, p)
	}
	switch {
	case err != nil:
		fmt.Fprintln(errs, "example check:", err)
		return 2
	case len(problems) > 0:
		return 1
	}
	fmt.Fprintln(out, "no problems")
	return 0
}
