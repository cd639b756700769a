// Command mklayout makes an image from Debian packages, as an OCI image layout,
// for the tests of the driver:
//
//	apt-get download $(mklayout -list)
//	mklayout -debs . -out image
//
// It needs dpkg-deb. The same packages always make the same image. The image is
// for the architecture that mklayout runs on, so the packages must be for that
// architecture too.
//
// The lower layers hold what a Debian image has. The upper layers make every
// kind of change that an image can make to the layers below, and hold everything
// that an archive can hold.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

func main() { os.Exit(run(os.Args[1:])) }

// run returns the exit status: 0 on success, 1 on failure, 2 on wrong usage.
func run(args []string) int {
	opts, err := parseFlags(args)
	if err != nil {
		return 2
	}
	if opts.list {
		for _, name := range packages() {
			fmt.Println(name)
		}
		return 0
	}
	if err := makeLayout(opts.debs, opts.out); err != nil {
		fmt.Fprintln(os.Stderr, "mklayout:", err)
		return 1
	}
	return 0
}

// options are the command's flags.
type options struct {
	list      bool
	debs, out string
}

// parseFlags prints the reason if it returns an error.
func parseFlags(args []string) (options, error) {
	var opts options
	flags := flag.NewFlagSet("mklayout", flag.ContinueOnError)
	flags.BoolVar(&opts.list, "list", false, "print the names of the packages that are needed, and do nothing else")
	flags.StringVar(&opts.debs, "debs", "", "the `directory` with the packages' .deb files, one for each")
	flags.StringVar(&opts.out, "out", "", "the `directory` to make; one that is there is replaced")
	if err := flags.Parse(args); err != nil {
		return opts, err
	}
	if !opts.list && (opts.debs == "" || opts.out == "") || flags.NArg() > 0 {
		err := errors.New("-debs and -out are needed, or -list, and no arguments")
		fmt.Fprintln(os.Stderr, "mklayout:", err)
		return opts, err
	}
	return opts, nil
}
