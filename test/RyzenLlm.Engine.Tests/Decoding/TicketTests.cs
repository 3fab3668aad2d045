using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Decoding.Scheduling;
using RyzenLlm.Engine.Sessions;

namespace RyzenLlm.Engine.Tests.Decoding;

public sealed class TicketTests
{
    [Test]
    public void MemoryIsGivenBackWhetherTheRequestIsAnsweredBeforeOrAfterItWasReserved([Values] bool before)
    {
        var budget = new MemoryBudget(100);
        var ticket = new Ticket(new() { Turns = [new("user", "x")] }, null, TimeProvider.System, CancellationToken.None, CancellationToken.None, () => { });
        if (before)
        {
            ticket.Dispose(); // cancelled while another thread prepares it
        }

        ticket.Hold(budget.Reserve("a request", 60));
        Assert.That(budget.Used, Is.EqualTo(before ? 0 : 60));
        ticket.Dispose();
        Assert.That(budget.Used, Is.Zero);
    }
}
