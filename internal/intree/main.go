//go:build linux && (!exclude_graphdriver_aufs || ours)

// Command intree drives the storage library's own aufs driver, which the
// library dropped later. With it, tests read stores with the old driver, and
// have the old driver write stores.
//
// A program can hold only one driver called "aufs". So this program does not
// import this module's driver, and is built without the tag
// exclude_graphdriver_aufs. It needs root and a kernel with aufs.
//
// Built with the tags ours and exclude_graphdriver_aufs, it has this module's
// driver instead. It is then a program with this module's storage library, for
// stores that programs of both libraries use.
//
// Each command is a process of its own. The memory of the driver, such as
// the count of mounts, ends with the process.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/reexec"
)

// errUsage means that the command line makes no sense.
var errUsage = errors.New("wrong usage")

// usage lists the commands. An empty or a missing PARENT means none.
const usage = `usage: intree -home DIR [-opt KEY=VALUE]... COMMAND
  list                       the IDs of all layers, sorted
  create ID [PARENT]         make a layer
  create-rw ID [PARENT]      make a layer for a container
  remove ID                  remove a layer
  apply ID [PARENT]          unpack the archive on standard input into a layer; prints its size
  diff ID [PARENT]           write an archive of what the layer changes to standard output
  changes ID [PARENT]        print what the layer changes, sorted, one "KIND PATH" a line
  tree ID                    mount the layer and list all that it shows
  run ID -- CMD [ARG]...     run a program in the mounted layer; MOUNT is where that is
  write-sample               make a store with layers of several kinds; "list" shows their IDs
  pack                       write an archive of the whole store to standard output
  cleanup                    unmount everything
`

// optionList is a flag that may be given several times.
type optionList []string

// String implements flag.Value.
func (l *optionList) String() string { return strings.Join(*l, " ") }

// Set implements flag.Value.
func (l *optionList) Set(value string) error {
	*l = append(*l, value)
	return nil
}

func main() {
	// The library unpacks archives in a child of this program, which starts here.
	if reexec.Init() {
		return
	}
	os.Exit(exitStatus(run(os.Args[1:])))
}

// run opens the driver and runs one command.
func run(args []string) error {
	var opts optionList
	fs := flag.NewFlagSet("intree", flag.ContinueOnError)
	fs.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	home := fs.String("home", "", "")
	fs.Var(&opts, "opt", "")
	if err := fs.Parse(args); err != nil {
		return errUsage
	}
	name, rest := fs.Arg(0), fs.Args()
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == name })
	if *home == "" || i < 0 || !commands[i].takes(len(rest)-1) {
		fs.Usage()
		return errUsage
	}
	driver, err := initDriver(*home, graphdriver.Options{DriverOptions: opts})
	if err != nil {
		return fmt.Errorf("open the driver: %w", err)
	}
	return interruptible(func() error { return commands[i].run(driver, rest[1:]) })
}

// interruptible runs a command so that tests can interrupt it, if the build supports that.
var interruptible = func(command func() error) error { return command() }

// exitStatus prints the error and returns its exit status: 2 for a wrong command
// line, the program's own for "run", 1 for all other errors.
func exitStatus(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "intree:", err)
	var exit *exec.ExitError
	switch {
	case errors.Is(err, errUsage):
		return 2
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	default:
		return 1
	}
}
