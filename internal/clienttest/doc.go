//go:build linux

// Command clienttest runs a life of containers with podman, first with this module's driver and then with the
// library's overlay driver, and compares what they print, what they warn of, and how they end.
//
// Somebody else has built podman, with the driver: see docs/options.md. clienttest runs as root, in a system that has a container
// runtime; "make clienttest" makes one. It needs no network.
//
// The life is a list of steps, each a script. What a script prints is compared after ids, times and the like are replaced. A step that differs and
// is not in expected.go, or that fails, is a failure.
package main
