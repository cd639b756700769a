//go:build !linux

// Command run works only on Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "run: the drivers work on Linux alone")
	os.Exit(1)
}
