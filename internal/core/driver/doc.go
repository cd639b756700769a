// Package driver is the graph driver without a storage library: it makes, mounts, fills, compares, archives and removes layers. The
// module's root package gives it the functions of the storage library that it calls, and turns types and errors into the library's.
package driver
