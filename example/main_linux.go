package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/containers/storage/pkg/reexec"

	_ "github.com/seed-642172e2/aufs" // Registers the driver "aufs".
)

// options are the command-line options.
type options struct {
	root    string
	input   string
	backend string
	driver  string
	layers  int
	keep    bool
}

// commands work on existing stores. Each returns the program's exit status.
var commands = map[string]func(ctx context.Context, args []string, out, errs io.Writer) int{"check": check, "convert": convert, "move": moveStore}

func main() {
	// The library unpacks some archives in a child process, which runs this program again from here.
	if reexec.Init() {
		return
	}
	if len(os.Args) > 1 && commands[os.Args[1]] != nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		os.Exit(commands[os.Args[1]](ctx, os.Args[2:], os.Stdout, os.Stderr))
	}
	opts, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = runIn(ctx, opts)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

// parseOptions parses the command line.
func parseOptions(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("example", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "usage: example [options]\n       example check [-repair] home\n       example convert home\n       example move -to overlay|aufs [-runroot directory] graphroot")
		fs.PrintDefaults()
	}
	fs.StringVar(&o.root, "root", "", "empty or new `directory` for the store (default a new one under $TMPDIR, removed at the end)")
	fs.StringVar(&o.input, "input", "", "`directory` or archive to make the image of (default the Go toolchain's tree)")
	fs.StringVar(&o.backend, "backend", "auto", "what makes the union: aufs, overlay, or auto (aufs where the host has it)")
	fs.StringVar(&o.driver, "driver", "aufs", "graph driver; overlay and vfs are the library's own, to compare with")
	fs.IntVar(&o.layers, "layers", 4, "number of layers in the image, at least 2")
	fs.BoolVar(&o.keep, "keep", false, "leave the store as it is at the end, unmounted")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case o.layers < 2:
		return o, fmt.Errorf("-layers %d: deletions need a layer above another", o.layers)
	case o.backend != "auto" && o.backend != "aufs" && o.backend != "overlay":
		return o, fmt.Errorf("-backend %s: not one of aufs, overlay, auto", o.backend)
	}
	return o, nil
}

// runIn makes the directory for the store, does everything in it, and removes it.
func runIn(ctx context.Context, opts options) (err error) {
	if os.Geteuid() != 0 {
		return fmt.Errorf("this needs root, for it mounts file systems; the user here is %d", os.Geteuid())
	}
	root, err := makeRoot(opts.root)
	if err != nil {
		return err
	}
	r := newRun(ctx, opts, root)
	err = r.all()
	if err != nil {
		r.abandon()
	}
	remove := root
	if opts.keep {
		remove = r.path("")
	}
	if err := errors.Join(err, removeTree(remove)); err != nil {
		return err
	}
	r.printResult()
	return nil
}

// makeRoot makes the directory for the store. It accepts only an empty directory,
// because the program removes everything in it at the end.
func makeRoot(dir string) (string, error) {
	if dir == "" {
		return os.MkdirTemp("", "aufs-example-")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("-root %s: not empty", dir)
	}
	return absolute(dir)
}
