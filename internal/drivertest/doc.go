// Package drivertest tests the driver of internal/core/driver, and the packages below it, with a storage library: whole operations on mounted
// layers, on each backend.
package drivertest
