# Every shell of the image finds AiiDA first.
export PATH=/opt/conda/bin:$PATH
