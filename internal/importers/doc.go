// Package importers has a test of what a program gets that imports the driver: no version of any module that is above what the
// storage library alone asks for.
package importers
