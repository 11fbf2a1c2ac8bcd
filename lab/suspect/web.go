package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"
)

// web serves `/` and `/healthz` until it is told to stop.
func web(ctx context.Context, arguments []string) error {
	host, _ := os.Hostname()
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "shop at", host) })

	server := &http.Server{Addr: arguments[0], Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	return server.ListenAndServe()
}
