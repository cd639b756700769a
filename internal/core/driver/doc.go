// Package driver is the graph driver without a storage library: layers are made, mounted, filled, compared, archived and removed.
// The module's root package gives it the storage library's functions, types and errors.
package driver
