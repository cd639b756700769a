// Command cmd reads "go test -json" from its standard input, shows the
// failures, and ends with a table of results for each storage backend.
//
//	go test -json ./... | go run ./internal/testreport/cmd -noskip overlay
//
// It exits with status 1 if a test failed or a backend broke its -noskip, and
// with status 2 on wrong usage.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/testreport"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	opts, err := parseFlags(args, stderr)
	if err != nil {
		return 2 // the flag package has said why
	}
	report, err := testreport.Read(stdin, testreport.Options{Log: stdout, Verbose: opts.verbose})
	problems := report.Problems(opts.noSkip, opts.mayMiss)
	if err != nil {
		problems = append(problems, err.Error())
	}
	for _, problem := range problems {
		fmt.Fprintln(stderr, "testreport:", problem)
	}
	if err := report.Print(stdout, opts.absent); err != nil {
		fmt.Fprintln(stderr, "testreport:", err)
		return 1
	}
	if len(problems) > 0 {
		return 1
	}
	return 0
}

// options are the command's flags.
type options struct {
	verbose bool
	noSkip  []string
	mayMiss []string          // beginnings of reasons
	absent  map[string]string // backend to reason
}

func parseFlags(args []string, stderr io.Writer) (options, error) {
	opts := options{absent: map[string]string{}}
	flags := flag.NewFlagSet("testreport", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&opts.verbose, "v", false, "show the output of all tests")
	flags.Func("noskip", "`BACKEND` of which no test may be skipped, and one at least must run",
		func(backend string) error {
			opts.noSkip = append(opts.noSkip, backend)
			return checkBackend(backend)
		})
	flags.Func("maymiss", "beginning of a `REASON` for which -noskip lets tests be skipped",
		func(reason string) error {
			opts.mayMiss = append(opts.mayMiss, reason)
			return nil
		})
	flags.Func("absent", "`BACKEND=REASON` why a backend was not run at all",
		func(value string) error {
			backend, reason, _ := strings.Cut(value, "=")
			opts.absent[backend] = reason
			return checkBackend(backend)
		})
	err := flags.Parse(args)
	return opts, err
}

func checkBackend(backend string) error {
	if !slices.Contains(testreport.Backends(), backend) {
		return fmt.Errorf("no such backend: %q", backend)
	}
	return nil
}
