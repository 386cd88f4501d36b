#!/bin/bash
touch /opt/INIT_COMPLETED
