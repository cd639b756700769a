// Package driver is the graph driver without a storage library: it makes, mounts, fills, compares, archives and removes layers. The
// module's root package passes the storage library's functions to it, and converts the driver's types and errors to the library's.
package driver
