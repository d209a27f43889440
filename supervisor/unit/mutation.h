// SPDX-License-Identifier: Apache-2.0
// Bugs that tests plant in the core to show that the simulator finds them: one for each rule.
// Production uses none.
#pragma once

#include <cstdint>

namespace ftrun::unit {

enum class Mutation : uint8_t {
  kNone = 0,
  kForgetOpens,             // do not offer unlogged opens again after a promotion
  kForgetData,              // nor unlogged data
  kForgetFins,              // nor unlogged FINs
  kForgetResets,            // nor unlogged resets
  kForgetSignals,           // nor unlogged signals
  kDropLateSignals,         // take a signal for a repetition when a later one was heard of
  kForgetBound,             // nor unlogged answers to bind and listen
  kBoundAfterOpens,         // offer these after the connections that came of them
  kBoundAfterAdopted,       // nor tell of a listen whose sender died before its connections
  kForgetBacklog,           // do not tell a new edge how many clients may wait
  kForgetAccepted,          // nor the edge which of them the application has accepted
  kForgetAcceptedBefore,    // nor a new edge
  kReleaseOutputUnchecked,  // write output before its turn is known to be equal
  kIgnoreDigest,            // do not compare digests
  kReleaseInputUnlogged,    // let the kernel forget input as soon as it was relayed
  kNeverTrim,               // keep all output in the resend queue
  kResendFromStart,         // resend from the start of the queue, not from what is written
  kDropUnknownAdopted,      // forget connections that were accepted just before the sender died
  kForgetMissing,           // do not reset connections that vanished with the dead sender
  kNoCredit,                // never tell the application that its output was written
  kCreditTooMuch,           // credit what was released instead of what was written
  kForgetUrgent,            // resend urgent output as if it were ordinary
  kForgetQuarantine,        // offer the suspect's input to the survivor like all other
  kForgetLateInput,         // do not count input that comes after the application's close
  kCloseAsLogged,           // close as if the application had read all that it was given
  kTrustAdoptedLock,        // take an adopted lock for what was asked for last
  kForgetForward,           // an inner member of a chain keeps the turns to itself
  kForgetResend,            // after a change of view, go on from the end of the own log
  kReleaseUnheld,           // output leaves before f + 1 members hold its turn
  kTakeOldFrames,           // heed frames of an older epoch
  kDropNewFrames,           // drop frames of a newer epoch
  kTrimEarly,               // forget turns that a member may still need
  kProposeOnce,             // do not try again when a view could not be published
  kForgetSuspicion,         // drop a suspicion that comes during a change of view
  kFastestBounds,           // the fastest secondary bounds the primary's run-ahead
  kForgetFed,               // offer again what a living primary was fed already
  kTakeOverEarly,           // take the sockets before the replay has come to the end of the log
  kGoLiveEarly,             // go live before the sender has begun anew
  kGoLiveShort,             // take input, and go live, before the log is whole
  kForgetEarlyClose,        // forget a close at the edge of a connection that is not known yet
  kServeBeyondTolerance,    // a fan-out goes on when more members died than it tolerates
  kTakeFromDeadOnly,        // do not take the sockets that a living member has let go
  kForgetUnwritten,         // let sockets go without what they have still to write
  kKeepUnlogged,       // let sockets go, and go on as if all that they had reported were logged
  kForgetOthers,       // feed the primary only, where turns refer to input
  kReferToOlder,       // refer to what was fed in an older epoch
  kKeepInput,          // keep the feed of an older epoch
  kForgetTaken,        // keep input to which turns have referred
  kIgnoreInputDigest,  // do not compare digests of input
  kRefuseIncomplete,   // take turns that come before their input for an error
  kCountIncomplete,    // say that they are received
  kForwardIncomplete,  // pass them on
  kReserveLate,        // leave ids that adopted sockets have to those that are accepted next
  kReadOn,             // read input though too much of it is not logged
  kProposeUseless,     // a member whose application has failed removes others
  kKeepUndoneAnswers,  // keep answers to binds that stood in turns which were not valid
  kGoOnWithLess,       // a fan-out goes on with less than clients may have seen
  kTrustNewOrder,      // take a chain's new sender for the one who holds least
  kStepDownOnce,       // do not try again when the view after a step down could not be published
  kTellStepping,       // tell a position while the application may be stepping down
  kFeedStepped,        // feed an application that has stepped down
  kBoundStepping,      // in a change, leave in its rings what one that steps down has published
  kForgetSuccessor,    // promote whoever would be after a death
  kHandOverEarly,      // hand the primary's part over while the sender takes sockets
  kReadOutputOn,       // read output though too much of it waits for other members
  kWaitForOwnOutput,   // read none while too much waits, be it for the end of its own turn
  kFeedStandby,        // the standby sender does not wait for the sender
  kKeepLagging,        // nor is it fed what it has waited with when it is the standby no longer
  kOfferPartAgain,     // offer again what came with a part of a turn
  kForgetParts,        // choose the next primary by whole turns alone
  kGoLiveWithoutPart,  // go live without what another member has replayed of a turn
  kTakeOldParts,       // feed parts of an older epoch
  kFeedGaps,           // feed a part although one before it was lost
  kCountPartAsInput,   // take arrivals that came with a part for some of the own input
  kReferToPart,        // refer to arrivals that came with a part
};
inline constexpr int kMutations = static_cast<int>(Mutation::kReferToPart) + 1;

}  // namespace ftrun::unit
