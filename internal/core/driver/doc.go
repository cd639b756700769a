// Package driver is the graph driver without a storage library: it makes, mounts, fills, compares, archives and removes layers. The
// module's root package gives it the storage library's functions, types and errors.
package driver
