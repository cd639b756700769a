// Command table reads benchstat's output for the benchmarks of package bench and makes one table of
// ratios, in Markdown.
//
//	benchstat -format csv -col /driver RESULTS | table -out FILE
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	out := flag.String("out", "", "file for the table, beside standard output")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *out); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer, file string) error {
	stats, err := read(in)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	write(&b, stats)
	if _, err := out.Write(b.Bytes()); err != nil {
		return err
	}
	if file == "" {
		return nil
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}
