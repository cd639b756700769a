// Command mklayout makes an image of Debian packages, an OCI image layout, for
// the tests of the driver:
//
//	apt-get download $(mklayout -list)
//	mklayout -debs . -out image
//
// It needs dpkg-deb. The same packages always make the same image. The image is
// for the architecture that mklayout runs on, and so have the packages to be.
//
// The lower layers are what a Debian image has. Those above do what an image can
// do to the layers below it, and have all that an archive can hold.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

func main() { os.Exit(run(os.Args[1:])) }

// run returns the exit status: 0 if all is well, 1 if not, 2 if the command was
// called wrongly.
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

// parseFlags has said what is wrong if it returns an error.
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
