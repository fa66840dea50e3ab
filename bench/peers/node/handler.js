// The function that every Node server here runs: the same work as python/handler.py.
exports.handle = (event) => ({
  hello: event.name,
  total: event.numbers.reduce((sum, one) => sum + one, 0),
});
