// The handler as a Worker: an ES module, which workerd wants in one piece.
const handle = (event) => ({
  hello: event.name,
  total: event.numbers.reduce((sum, one) => sum + one, 0),
});

export default {
  async fetch(request) {
    return Response.json(handle(await request.json()));
  },
};
